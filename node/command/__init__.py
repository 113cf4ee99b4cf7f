"""``hybridnet`` on a machine: what whoever is logged in there asks and tells it."""
