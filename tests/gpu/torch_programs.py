"""Programs with PyTorch, run as `python -c`."""

FILL = """
import torch
held = []
try:
    while True: held.append(torch.empty(32 << 20, dtype=torch.uint8, device="cuda"))
except torch.OutOfMemoryError: pass
taken = len(held) * 32
del held; torch.cuda.empty_cache()
torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
print(taken)
"""

TRAIN = """
import time, torch
net = torch.nn.Sequential(*[torch.nn.Linear(2048, 2048) for _ in range(8)]).cuda()
best, data = torch.optim.Adam(net.parameters()), torch.randn(512, 2048, device="cuda")
def step():
    best.zero_grad(); net(data).square().mean().backward(); best.step()
for _ in range(150): step()
torch.cuda.synchronize(); begin = time.monotonic()
for _ in range(500): step()
torch.cuda.synchronize(); print(time.monotonic() - begin)
"""

HOLD = """
import torch
one = torch.randn(4096, 4096, device="cuda", dtype=torch.bfloat16)
image, weights = torch.randn(8, 64, 64, 64, device="cuda"), torch.randn(64, 64, 3, 3, device="cuda")
two = torch.nn.functional.conv2d(image, weights)
(one @ one).float().sort(); two.softmax(1).sum(); torch.linalg.inv(torch.eye(256, device="cuda"))
torch.cuda.synchronize()
print("held", flush=True); input()
"""
"""Kernels of several libraries are loaded, so that code has its part of the memory."""
