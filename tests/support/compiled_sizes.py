"""What the compiled kernels' hot loops were when they were last made shorter on purpose (triton 3.7.1), by case.

FA2's loop of whole blocks had 538 instructions at head_dim 128 on sm_90 before it was told from the masked blocks' and
the scale was folded into the exponent (with the mask on every block, two stages): it has 355.
"""

GROWTH = 1.03
"""A loop may have this much more before its test fails: another order of the same instructions, not more of them."""
INSTRUCTIONS = {
    "fa1-triton-sm80-fp32-d64-sq512": 1835,
    "fa2-triton-sm80-fp32-d64-sq512": 1449,
    "fa1-triton-sm80-fp32-d128-sq512": 1074,
    "fa2-triton-sm80-fp32-d128-sq512": 793,
    "fa1-triton-sm80-fp16-d64-sq512": 1039,
    "fa2-triton-sm80-fp16-d64-sq512": 358,
    "fa1-triton-sm80-fp16-d128-sq512": 1622,
    "fa2-triton-sm80-fp16-d128-sq512": 557,
    "fa1-triton-sm80-bf16-d64-sq512": 1039,
    "fa2-triton-sm80-bf16-d64-sq512": 358,
    "fa1-triton-sm80-bf16-d128-sq512": 1622,
    "fa2-triton-sm80-bf16-d128-sq512": 557,
    "fa1-triton-sm90-fp32-d64-sq512": 1843,
    "fa2-triton-sm90-fp32-d64-sq512": 1465,
    "fa1-triton-sm90-fp32-d128-sq512": 1083,
    "fa2-triton-sm90-fp32-d128-sq512": 798,
    "fa1-triton-sm90-fp16-d64-sq512": 956,
    "fa2-triton-sm90-fp16-d64-sq512": 300,
    "fa1-triton-sm90-fp16-d128-sq512": 1454,
    "fa2-triton-sm90-fp16-d128-sq512": 355,
    "fa1-triton-sm90-bf16-d64-sq512": 956,
    "fa2-triton-sm90-bf16-d64-sq512": 300,
    "fa1-triton-sm90-bf16-d128-sq512": 1454,
    "fa2-triton-sm90-bf16-d128-sq512": 355,
    "fa1-triton-sm86-bf16-d128-sq512": 1479,
    "fa2-triton-sm86-bf16-d128-sq512": 507,
    "fa1-triton-sm80-bf16-d128-sq512-padded": 1901,
    "fa2-triton-sm80-bf16-d128-sq512-padded": 1001,
    "fa1-triton-sm90-bf16-d128-sq512-padded": 1610,
    "fa2-triton-sm90-bf16-d128-sq512-padded": 658,
    "fa1-triton-sm80-bf16-d128-sq1": 404,
    "fa2-triton-sm80-bf16-d128-sq1": 252,
    "fa1-triton-sm90-bf16-d128-sq1": 395,
    "fa2-triton-sm90-bf16-d128-sq1": 256,
}
"""Instructions in the hot loop (see :func:`tests.support.sass.hot_loop`)."""
SPILLED_BYTES = {
    "fa2-triton-sm80-fp16-d128-sq512": 8,
    "fa2-triton-sm80-bf16-d128-sq512": 8,
    "fa2-triton-sm90-fp32-d128-sq512": 16,
    "fa1-triton-sm90-fp16-d128-sq512": 48,
    "fa1-triton-sm90-bf16-d128-sq512": 48,
    "fa2-triton-sm86-bf16-d128-sq512": 32,
    "fa1-triton-sm90-bf16-d128-sq512-padded": 72,
    "fa1-triton-sm90-bf16-d128-sq1": 8,
}
"""Bytes of a thread's values that do not fit its registers; none where a case is not listed. FA1 at head_dim 128 also
holds the output that it loads; on sm_80 a tile of 128 x 64 has two values too many."""
