"""Who is who: the owner's own certificate authority."""

from blindsight.trusted.identity.authority import Authority, Issued

__all__ = ["Authority", "Issued"]
