"""What rooms hand to one another and what their files hold: typed, frozen, read and written."""
