"""Upper limits of what the compiled Triton kernels may cost, so that no change makes one longer unnoticed.

``LIMITS``: by test id, instructions of the hot loop (:func:`tests.triton_sass.hot_loop_of`), registers of a thread,
and bytes that a thread spills. The first two are what Triton 3.7.1 makes of the kernels, with room for other versions
of the compiler: a twentieth more instructions, eight more registers. Spills are the larger of Triton 3.6.0's and
3.7.1's; FA1 holds the output that it loads beside all else, and spills. FA2 at head_dim 128 on compute capability 9.0
may have no more than 380 instructions and spill nothing: with one masked loop for all blocks, multiplying and
subtracting apart, it had 538. A limit may rise only with a measurement that shows the longer kernel to be faster.
"""

from __future__ import annotations

LIMITS = {
    "fa1-sm80-fp32-d64-sq512": (1930, 136, 0),
    "fa2-sm80-fp32-d64-sq512": (1590, 120, 0),
    "fa1-sm80-fp32-d128-sq512": (1130, 112, 0),
    "fa2-sm80-fp32-d128-sq512": (860, 72, 0),
    "fa1-sm80-fp16-d64-sq512": (1100, 255, 0),
    "fa2-sm80-fp16-d64-sq512": (400, 168, 0),
    "fa1-sm80-fp16-d128-sq512": (1710, 255, 24),
    "fa2-sm80-fp16-d128-sq512": (590, 255, 24),
    "fa1-sm80-bf16-d64-sq512": (1100, 255, 0),
    "fa2-sm80-bf16-d64-sq512": (400, 168, 0),
    "fa1-sm80-bf16-d128-sq512": (1710, 255, 24),
    "fa2-sm80-bf16-d128-sq512": (590, 255, 24),
    "fa1-sm90-fp32-d64-sq512": (1940, 112, 0),
    "fa2-sm90-fp32-d64-sq512": (1590, 104, 0),
    "fa1-sm90-fp32-d128-sq512": (1140, 112, 0),
    "fa2-sm90-fp32-d128-sq512": (890, 80, 0),
    "fa1-sm90-fp16-d64-sq512": (1010, 240, 0),
    "fa2-sm90-fp16-d64-sq512": (320, 136, 0),
    "fa1-sm90-fp16-d128-sq512": (1530, 255, 88),
    "fa2-sm90-fp16-d128-sq512": (380, 224, 0),
    "fa1-sm90-bf16-d64-sq512": (1010, 240, 0),
    "fa2-sm90-bf16-d64-sq512": (320, 136, 0),
    "fa1-sm90-bf16-d128-sq512": (1530, 255, 88),
    "fa2-sm90-bf16-d128-sq512": (380, 224, 0),
    "fa1-sm86-bf16-d128-sq512": (1560, 232, 0),
    "fa2-sm86-bf16-d128-sq512": (530, 184, 0),
    "fa1-sm80-bf16-d128-sq512-padded": (2000, 255, 96),
    "fa2-sm80-bf16-d128-sq512-padded": (1060, 255, 0),
    "fa1-sm90-bf16-d128-sq512-padded": (1700, 255, 72),
    "fa2-sm90-bf16-d128-sq512-padded": (700, 216, 0),
    "fa1-sm80-bf16-d128-sq1": (430, 136, 0),
    "fa2_decode-sm80-bf16-d128-sq1": (210, 104, 0),
    "fa2_merge-sm80-bf16-d128-sq1": (200, 48, 0),
    "fa1-sm90-bf16-d128-sq1": (420, 136, 8),
    "fa2_decode-sm90-bf16-d128-sq1": (220, 104, 0),
    "fa2_merge-sm90-bf16-d128-sq1": (210, 48, 0),
    "fa2_decode-sm90-fp32-d64-sq1": (850, 120, 0),
    "fa2_decode-sm90-bf16-d64-sq1": (220, 88, 0),
    "fa2_decode-sm80-fp32-d128-sq1": (840, 120, 0),
    "fa2-sm80-bf16-d128-sq512-128x64x8x2": (540, 255, 8),
    "fa2-sm80-bf16-d128-sq512-128x128x8x2": (990, 255, 80),
    "fa2-sm80-bf16-d128-sq512-64x64x4x2": (780, 255, 0),
    "fa2-sm80-bf16-d64-sq512-128x64x4x3": (700, 255, 0),
    "fa2-sm80-bf16-d64-sq512-128x128x8x3": (670, 208, 0),
    "fa2-sm90-bf16-d128-sq512-128x64x8x2": (390, 224, 0),
    "fa2-sm90-bf16-d128-sq512-128x128x8x2": (610, 255, 48),
    "fa2-sm90-bf16-d128-sq512-64x64x4x2": (400, 255, 0),
    "fa2-sm90-bf16-d64-sq512-128x64x4x3": (550, 255, 0),
    "fa2-sm90-bf16-d64-sq512-128x128x8x3": (490, 224, 0),
}
