"""`blindsight compare-schemes`: the same photos under every scheme, measured, in one report.

    command     the command line
    run         measures one scheme after the other, and writes the report
    photos      the input: thumbnails of the given photos, altered ones, and three queries
    plaintext   the same comparison by numpy, as the reference
    vaults      Blindsight's own schemes, through three real services in a temporary folder
    baselines   naive programs, each in a process of its own, on a sample
    results     the measurements: the document that --json prints
    verdict     a summary of the results in a few sentences
    plots       the figures, drawn by matplotlib
    page        the report as one HTML file

A new scheme is a row of `vaults.RECIPES` or a program and a function in `baselines`.
"""
