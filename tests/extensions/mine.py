"""A user's file with one of each kind, as the tests of extensions copy it; its defense has state of every type."""

import os
import random
from pathlib import Path
from typing import Literal

import beside
import numpy as np
import torch
from torch import nn

from afdctl import metrics
from afdctl.data import Dataset, DatasetLoader, ImageTensors
from afdctl.defenses.base import Defense
from afdctl.losses import L_C
from afdctl.recipe.data import Data
from afdctl.recipe.defenses import DefenseConfig
from afdctl.recipe.model import Model


class Decay:
    value = 1.0

    def state_dict(self):
        return {"value": self.value}

    def load_state_dict(self, state):
        self.value = state["value"]


class Mine(Defense):
    label = "Mine"
    losses = ("L_C", "L_mine")

    class Config(DefenseConfig):
        weight: float = 0.5

    def __init__(self, **given):
        super().__init__(**given)
        self.D = nn.Linear(self.network.features, 1)
        self.opt = torch.optim.Adam(self.D.parameters(), lr=0.01)
        self.mean = torch.zeros(())
        self.count = 0
        self.history = {"own": [0.0]}
        self.decay = Decay()
        self.own_noise = torch.Generator().manual_seed(5)

    def step(self, x, y):
        x_adv = self.adversary(x, y)
        z = self.network.F_theta(x_adv)
        logits = self.network.C_phi(z)
        draw = torch.rand(()) + random.random() + float(np.random.rand()) + torch.rand((), generator=self.own_noise)
        own = self.D(z.detach()).square().mean() * draw
        self.opt.zero_grad()
        own.backward()
        self.opt.step()
        self.decay.value *= 0.9
        self.count += 1
        self.history["own"].append(float(own.detach()) + self.history["own"][-1])
        self.mean = 0.9 * self.mean + 0.1 * own.detach()
        loss = L_C(logits, y) * (1 + self.table.weight * draw / self.count)
        loss = loss * (self.decay.value + 0.01 * self.history["own"][-1] / self.count)
        return {
            "L_C": loss,
            "L_mine": self.mean,
            "count": self.count,
            "acc_adv": metrics.accuracy(logits, y),
            "grad_C": self.step_classifier(loss),
        }


class Net(nn.Module):
    label = "MineNet"

    class Config(Model):
        activation: Literal["relu", "silu"] = "relu"

    def __init__(self, channels, width, activation):
        super().__init__()
        act = {"relu": nn.ReLU, "silu": nn.SiLU}[activation]
        self.body = nn.Sequential(
            nn.Conv2d(channels, width, 3), nn.BatchNorm2d(width), act(), nn.Flatten(), nn.LazyLinear(12)
        )

    def forward(self, x):
        # neither in the code nor among the files beside it
        return self.body(x + float(os.environ.get("MINE_SHIFT", "0")))


class Pictures(DatasetLoader):
    label = "Pictures"
    name = "pictures"

    class Config(Data):
        shade: int = 100

    def load(self, roots, *, shade, image_size=None, channels=None):
        scale = float(Path(__file__).with_name("scale.txt").read_text())
        generator = torch.Generator().manual_seed(0)
        x = torch.randint(0, shade, (640, 1, 8, 8), generator=generator) * scale
        y = torch.arange(640) % 4
        x += 30 * y.view(-1, 1, 1, 1)
        x = x.clamp(0, 255).to(torch.uint8)
        return Dataset(
            name=self.name,
            train=ImageTensors(x[:512], y[:512]),
            test=ImageTensors(x[512:], y[512:]),
            classes=beside.NAMES,
        )


def attack(model, x, y, *, epsilon, generator, gain: float = 2.0):
    """Random signs, far outside of the ball: afdctl clips them."""
    return x + gain * epsilon * (torch.rand(x.shape, generator=generator) - 0.5).sign()


attack.label = "Signs"
