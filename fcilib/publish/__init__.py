"""How chapters become executed notebooks, and notebooks become pages."""
