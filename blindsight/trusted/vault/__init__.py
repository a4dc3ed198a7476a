"""An owner's collections: their settings, the slots of their items, and the writing of batches."""
