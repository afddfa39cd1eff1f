"""A trained attacker: a small CNN with CTC, for so many seconds of one core's time.

    train.py SET SECONDS

SET is a folder with set.json ({"n", "height", "width", "alphabet", "tests",
"answers"}) and data.u8, n pictures of height x width bytes one after the other.
The last "tests" of them are never trained on. It prints JSON: the parts of those
whose answers, and whose characters, are read.
"""

import json
import sys
import time

import numpy
import torch
from torch import nn

torch.set_num_threads(1)
torch.manual_seed(1)
random = numpy.random.default_rng(1)

folder, seconds = sys.argv[1], float(sys.argv[2])
with open(folder + "/set.json") as f:
    about = json.load(f)
n, height, width, tests = about["n"], about["height"], about["width"], about["tests"]
alphabet, answers = about["alphabet"], about["answers"]
pictures = numpy.fromfile(folder + "/data.u8", dtype=numpy.uint8).reshape(n, 1, height, width)


def block(inside, out, pool):
    return nn.Sequential(
        nn.Conv2d(inside, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True), nn.MaxPool2d(pool)
    )


class Net(nn.Module):
    """About 0.12 million parameters; a column of the picture's quarter width each."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            block(1, 16, (2, 2)), block(16, 32, (2, 2)), block(32, 48, (2, 1)), block(48, 64, (2, 1))
        )
        self.row = nn.Conv1d(64 * (height // 16), 64, 1)
        self.around = nn.Sequential(nn.ReLU(), nn.Conv1d(64, 64, 5, padding=2), nn.ReLU())
        self.out = nn.Conv1d(64, len(alphabet) + 1, 1)

    def forward(self, x):
        x = self.features(x)
        x = self.row(x.flatten(1, 2))
        return self.out(self.around(x)).permute(2, 0, 1).log_softmax(2)


def batch(indices):
    return torch.from_numpy(pictures[indices]).float().div_(127.5).sub_(1)


def read(scores):
    best = scores.argmax(2).numpy().T
    texts = []
    for row in best:
        kept = [c for i, c in enumerate(row) if c and (i == 0 or c != row[i - 1])]
        texts.append("".join(alphabet[c - 1] for c in kept))
    return texts


net = Net()
loss_of = nn.CTCLoss(zero_infinity=True)
optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=1e-4)
start, epoch, order, at = time.process_time(), 0, random.permutation(n - tests), 0
while (used := (time.process_time() - start) / seconds) < 1:
    # Warm up, then down in half a wave until the time is over.
    rate = 3e-3 * min(1, used / 0.05) * (0.5 + 0.5 * numpy.cos(numpy.pi * used)) + 1e-5
    for group in optimizer.param_groups:
        group["lr"] = rate
    if at + 32 > len(order):
        order, at, epoch = random.permutation(n - tests), 0, epoch + 1
    chosen = order[at : at + 32]
    at += 32
    scores = net(batch(chosen))
    targets = torch.tensor([alphabet.index(c) + 1 for i in chosen for c in answers[i]])
    lengths = torch.tensor([len(answers[i]) for i in chosen])
    loss = loss_of(scores, targets, torch.full((32,), scores.shape[0]), lengths)
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(net.parameters(), 5)
    optimizer.step()

net.eval()
right = letters = all_letters = 0
with torch.no_grad():
    for first in range(n - tests, n, 100):
        indices = range(first, min(first + 100, n))
        for i, text in zip(indices, read(net(batch(list(indices))))):
            right += text == answers[i]
            if len(text) == len(answers[i]):
                letters += sum(a == b for a, b in zip(text, answers[i]))
            all_letters += len(answers[i])
print(
    json.dumps(
        {
            "answers": right / tests,
            "characters": letters / all_letters,
            "epochs": round(epoch + at / len(order), 1),
            "parameters": sum(p.numel() for p in net.parameters()),
        }
    )
)
