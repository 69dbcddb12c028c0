"""Who hears what, in which order: balanced, random, and the same for the same seed."""

import numpy as np


def balanced_subsets(listeners: int, items: int, per_listener: int, rng: np.random.Generator) -> list[list[int]]:
    """``per_listener`` different items for each listener; how often any two items are heard differs by one at most.

    Shuffled rounds of all items are dealt out one after the other. Where a hand spans two rounds, the second one puts
    the hand's items off until the hand is full. ValueError if ``per_listener`` is not from 1 to ``items``.
    """
    if not 1 <= per_listener <= items:
        raise ValueError(f"a listener hears 1 to {items} items, not {per_listener}")
    hands: list[list[int]] = []
    left: list[int] = []
    for _ in range(listeners):
        hand = left[:per_listener]
        left = left[per_listener:]
        if missing := per_listener - len(hand):
            fresh = rng.permutation(items).tolist()
            first = [i for i in fresh if i not in hand][:missing]
            left = [i for i in fresh if i not in first]
            hand += first
        hands.append(hand)
    return hands


def with_repeats(order: list[int], repeats: int, rng: np.random.Generator) -> list[tuple[int, bool]]:
    """``order`` with ``repeats`` of its first half presented again in its second half: (item, whether again).

    ValueError for more repeats than the first half holds.
    """
    half = len(order) // 2
    if repeats > half:
        raise ValueError(f"at most half of {len(order)} trials can be repeated, not {repeats}")
    again = [(item, True) for item in rng.permutation(order[:half]).tolist()[:repeats]]
    second = [(item, False) for item in order[half:]]
    for one in again:
        # Never straight after the first half, which may end with the same trial.
        second.insert(int(rng.integers(1, len(second) + 1)), one)
    return [(item, False) for item in order[:half]] + second
