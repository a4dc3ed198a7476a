"""The baselines of Blindsight's schemes: programs, each in a process of its own, on a sample.

    programs          the list of programs; starts one, and makes a row of its answer
    sample            the input and the output of a program
    tenseal_pixels    the naive method under CKKS and BFV
    paillier_pixels   the additive method

The programs hold the secret key beside the gallery, like the projects that they represent.
"""
