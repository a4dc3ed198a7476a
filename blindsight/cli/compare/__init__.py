"""`blindsight compare-schemes`: the same photos under every scheme, measured, in one report.

    command     the command line
    run         one scheme after the other, then the report
    photos      what is compared: small pictures of the given photos, altered ones, and three queries
    plaintext   the same comparison by numpy, which says what is right
    vaults      Blindsight's own schemes, through three real services in a temporary folder
    baselines   the naive programs, each in a process of its own, on a sample
    results     what was measured: the document that --json prints
    verdict     what the figures say, in a few sentences
    plots       the figures, drawn by matplotlib
    page        all of it as one HTML file

A new scheme is a row of `vaults.RECIPES` or a program and a function in `baselines`.
"""
