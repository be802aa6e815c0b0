"""What an attacker may try on whoever calls URLs for others: URLs, name servers, answers."""
