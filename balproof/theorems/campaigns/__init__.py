"""Claims tried on many random instances, where ``balproof verify --samples N`` asks for it.

The records check each claim on a few chosen instances; a campaign draws as many as one likes from a
declared family, each reproducible from its name.
"""

from __future__ import annotations

from balproof.theorems.campaigns import matrices, networks
from balproof.theorems.campaigns.campaign import Campaign
from balproof.theorems.campaigns.family import Instance

CAMPAIGNS: dict[str, Campaign] = {c.claim: c for c in (*networks.CAMPAIGNS, *matrices.CAMPAIGNS)}
"""By the id of their claim."""

__all__ = ["CAMPAIGNS", "Campaign", "Instance"]
