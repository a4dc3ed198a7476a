"""The encryption of the score columns: galleries, queries, and the proof that an answer is right.

    keys        the secrets and public masks of columns, and all keys of a collection
    numbers     integers to residues and back
    gallery     rows: encryption, decryption
    queries     queries: encryption, and the opening of answers
    checking    check sums, and the check of an answer
    batches     rows as storage keeps them, authenticated
    answer_key  what opens and checks the answers of a whole gallery
    compiling   compiled code, made ready

The scheme, its proof and its bounds are described in docs/search-encryption.md.
"""
