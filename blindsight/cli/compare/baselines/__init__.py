"""What Blindsight's schemes are compared with: programs, each in a process of its own, on a sample.

    programs          which there are; starts one, and makes a row of its answer
    sample            what a program reads, and how it answers
    tenseal_pixels    the naive way under CKKS and BFV
    paillier_pixels   the additive way

The programs hold the secret key beside the gallery, as the projects that they stand for do.
"""
