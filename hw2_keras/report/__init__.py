"""Reported beside reproduced: tables, the page, the beam study."""
