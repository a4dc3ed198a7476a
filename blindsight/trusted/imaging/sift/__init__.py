"""SIFT of an encrypted image: what the keyholder does with the scale space that the evaluator computed.

    plan         which linear maps the evaluator applies, an octave at a time
    extrema      where a difference of Gaussians is largest or smallest of its 26 neighbours
    refinement   to a part of a pixel; contrast and edges
    orientation  which way a keypoint's surroundings run
    description  128 numbers of its surroundings

After Lowe, "Distinctive Image Features from Scale-Invariant Keypoints" (IJCV 60(2), 2004); constants that
the paper leaves open are OpenCV's.  A caller goes through the octaves of a plan: it has the octave's
Gaussians and differences computed from the base, calls `features`, and takes the next base from the
Gaussians with `OctavePlan.next_base`.

Grey levels are 0 to 255, and images must be precise: where a difference is broad and flat, small errors move
its peak or make more of them.  Independent errors with a standard deviation of 0.001 grey level cost one
keypoint in a hundred, 0.003 two, 0.01 six, 0.03 fifteen; with 0.1 there are twice as many, half of them of
no use.
"""

from __future__ import annotations

from blindsight.trusted.imaging.sift.detection import Detection, features
from blindsight.trusted.imaging.sift.keypoints import Features
from blindsight.trusted.imaging.sift.plan import SCALES, OctavePlan, Pyramid, octave_plans

__all__ = ["SCALES", "Detection", "Features", "OctavePlan", "Pyramid", "features", "octave_plans"]
