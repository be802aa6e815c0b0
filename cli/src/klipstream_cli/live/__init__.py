"""The full-screen view: what is known, how it is drawn, what keys do."""
