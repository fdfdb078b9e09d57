"""Models: what turns pixels into features, frozen or fitted."""
