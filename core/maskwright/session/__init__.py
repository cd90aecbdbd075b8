"""All that both front ends show and decide; they talk to this room and to `domain` only."""

from __future__ import annotations

from maskwright.session.session import (
    CLEANING,
    METHODS,
    AnnotationSession,
    Improvement,
    MaskView,
    Proposal,
    Proposals,
)

__all__ = ["CLEANING", "METHODS", "AnnotationSession", "Improvement", "MaskView", "Proposal", "Proposals"]
