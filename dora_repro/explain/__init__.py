"""Why a resumed run differs: causes, proved by transplanting state."""
