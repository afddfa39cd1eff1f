"""A trained attacker: a small CNN with CTC, for so many seconds of one core's time.

    train.py SET SECONDS

SET is a folder with set.json ({"n", "height", "width", "alphabet", "tests",
"answers"}) and data.u8, n pictures of height x width bytes one after the other.
The last "tests" of them are never trained on. It prints JSON: the part of those whose
answers are read, and of their characters what one need not mend.
"""

import json
import sys
import time

import numpy
import torch
from torch import nn

BATCH = 16

torch.set_num_threads(1)
torch.manual_seed(1)
random = numpy.random.default_rng(1)

folder, seconds = sys.argv[1], float(sys.argv[2])
with open(folder + "/set.json") as f:
    about = json.load(f)
n, height, width, tests = about["n"], about["height"], about["width"], about["tests"]
alphabet, answers = about["alphabet"], about["answers"]
letters = len(answers[0])
pictures = numpy.fromfile(folder + "/data.u8", dtype=numpy.uint8).reshape(n, 1, height, width)


def block(inside, out, size, stride):
    return nn.Sequential(
        nn.Conv2d(inside, out, size, stride=stride, padding=size // 2, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True)
    )


def across(inside, out, size):
    return nn.Sequential(nn.Conv1d(inside, out, size, padding=size // 2), nn.BatchNorm1d(out), nn.ReLU(inplace=True))


class Net(nn.Module):
    """About 0.13 million parameters for pictures of 120 x 40.

    A column of what comes out stands for two of the picture: with four, what is
    between two letters has no column of its own. The places are a second way out,
    for the first third of the time only, which takes letters to stand at equal
    distances. By CTC alone it may take minutes to find out that there are letters.
    """

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            block(1, 16, 5, 2), block(16, 32, 3, 1), nn.MaxPool2d((2, 1)), block(32, 48, 3, 1), nn.MaxPool2d((2, 1))
        )
        self.row = nn.Sequential(across(48 * ((height + 1) // 2 // 4), 96, 3), across(96, 64, 5))
        self.out = nn.Conv1d(64, len(alphabet) + 1, 1)
        self.places = nn.Conv1d(64, len(alphabet), 19, padding=9)

    def forward(self, x):
        x = self.row(self.features(x).flatten(1, 2))
        columns = [round(x.shape[2] * (0.05 + 0.9 * (i + 0.5) / letters)) for i in range(letters)]
        return self.out(x).permute(2, 0, 1).log_softmax(2), self.places(x)[:, :, columns]


def batch(indices):
    """Every picture by its own mean and spread, so that dark ones are like light ones."""
    x = torch.from_numpy(pictures[indices]).float()
    return (x - x.mean((1, 2, 3), keepdim=True)) / (x.std((1, 2, 3), keepdim=True) + 1)


def read(scores):
    best = scores.argmax(2).numpy().T
    texts = []
    for row in best:
        kept = [c for i, c in enumerate(row) if c and (i == 0 or c != row[i - 1])]
        texts.append("".join(alphabet[c - 1] for c in kept))
    return texts


def edits(a, b):
    """Levenshtein's distance: characters to insert, drop or change."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a):
        before, row[0] = row[0], i + 1
        for j, y in enumerate(b):
            before, row[j + 1] = row[j + 1], min(row[j] + 1, row[j + 1] + 1, before + (x != y))
    return row[-1]


net = Net()
ctc = nn.CTCLoss(zero_infinity=True)
optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=1e-4)
start, epoch, order, at = time.process_time(), 0, random.permutation(n - tests), 0
while (used := (time.process_time() - start) / seconds) < 1:
    # Warm up, then down in half a wave until the time is over.
    rate = 3e-3 * min(1, used / 0.05) * (0.5 + 0.5 * numpy.cos(numpy.pi * used)) + 1e-5
    for group in optimizer.param_groups:
        group["lr"] = rate
    if at + BATCH > len(order):
        order, at, epoch = random.permutation(n - tests), 0, epoch + 1
    chosen = order[at : at + BATCH]
    at += BATCH
    scores, places = net(batch(chosen))
    targets = torch.tensor([[alphabet.index(c) for c in answers[i]] for i in chosen])
    loss = ctc(scores, targets + 1, torch.full((BATCH,), scores.shape[0]), torch.full((BATCH,), letters))
    loss = loss + max(0, 1 - 3 * used) * nn.functional.cross_entropy(places, targets)
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(net.parameters(), 5)
    optimizer.step()

net.eval()
right = wrong = 0
with torch.no_grad():
    for first in range(n - tests, n, 100):
        indices = range(first, min(first + 100, n))
        for i, text in zip(indices, read(net(batch(list(indices)))[0])):
            right += text == answers[i]
            wrong += edits(text, answers[i]) / letters
print(
    json.dumps(
        {
            "answers": right / tests,
            "characters": 1 - wrong / tests,
            "epochs": round(epoch + at / len(order), 1),
            "parameters": sum(p.numel() for p in net.parameters()),
        }
    )
)
