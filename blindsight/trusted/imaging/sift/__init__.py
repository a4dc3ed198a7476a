"""SIFT of an encrypted image: the keyholder's part, on a scale space that the evaluator computed.

    plan         the linear maps that the evaluator applies, an octave at a time
    extrema      pixels of differences of Gaussians above or below all of their 26 neighbours
    refinement   subpixel positions; rejection of low contrast and of edges
    orientation  directions of the gradients around a keypoint
    description  descriptors of 128 numbers

The algorithm follows Lowe, "Distinctive Image Features from Scale-Invariant Keypoints" (IJCV 60(2), 2004);
constants that the paper leaves open are OpenCV's.  For each octave of a plan, the caller has Gaussians and
differences computed from the base, calls `features`, and takes the next base from the Gaussians with
`OctavePlan.next_base`.

Grey levels are 0 to 255, and images must be precise: where a difference is broad and flat, small errors move
its peak or create more peaks.  Independent errors with a standard deviation of 0.001 grey levels cost one
keypoint in a hundred, 0.003 two, 0.01 six, 0.03 fifteen; with 0.1 there are twice as many keypoints, half of
them useless.
"""

from __future__ import annotations

from blindsight.trusted.imaging.sift.detection import Detection, features
from blindsight.trusted.imaging.sift.keypoints import Features
from blindsight.trusted.imaging.sift.plan import SCALES, OctavePlan, Pyramid, octave_plans

__all__ = ["SCALES", "Detection", "Features", "OctavePlan", "Pyramid", "features", "octave_plans"]
