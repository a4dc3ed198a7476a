"""The demo, on real photos.  Zone: TRUSTED.  It stands on the owner's side and sees the pictures."""
