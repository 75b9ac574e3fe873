"""What a stake goes through: limits, placing, matching."""
