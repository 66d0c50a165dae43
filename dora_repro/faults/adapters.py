"""LoRA and DoRA adapters that come back incomplete, frozen, cast or elsewhere."""
