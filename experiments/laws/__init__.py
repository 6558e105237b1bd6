"""Laws of the roles: what every part of a role holds to, checked of a part of one's own."""
