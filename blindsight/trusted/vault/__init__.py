"""An owner's collections: their settings, which item lies in which slot, and the writing of batches."""
