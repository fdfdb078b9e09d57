"""Tune prompts on images that are attacked through them in every batch; no gradient of a weight is computed.

Source: after adversarial training (Madry et al. 2018, eq. 2.1) of the prompts alone.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stages.attacks.linf import LinfBall
from stages.attacks.noise import ImageNoise
from stages.attacks.pgd import pgd
from stages.crafting.adversarial_loss import Loss, loss_of
from stages.crafting.batching import SMALLEST_BATCH, even_batches, over_batches
from stages.crafting.copies import with_copies
from stages.crafting.shards import Attack, craft_shard, steps_of
from stages.models.clip import Clip
from stages.models.device import to_tensor
from stages.models.logits import cosine_logits, routed_logits
from stages.prompts.adversarial import Encoder, Learner
from stages.prompts.checkpoint import Arrays, Progress
from stages.prompts.train import learning_rate
from stages.runtime.method_blocks import Adversarial
from stages.runtime.params import Runtime
from stages.storage.images import Images


@dataclass(frozen=True)
class Tuning:
    """Tuning of the prompts, one seed after the other.

    Attributes:
        learner: What is tuned.
        clip: The model.
        settings: The method's block.
        images: N clean training images, labelled by position among the classes.
        seed: Of the noise of the attacks.
        device: Where to tune.
        runtime: Batches side by side, and the images of a batch at most; neither changes the result.
    """

    learner: Learner
    clip: Clip
    settings: Adversarial
    images: Images
    seed: int
    device: torch.device
    runtime: Runtime

    def tune(self, index: int, generator: torch.Generator, start: Progress | None = None) -> Iterator[Progress]:
        """Tune the prompts of one seed; yield after every epoch.

        Args:
            index: Which tuning seed.
            generator: Source of the order of the images.
            start: Where an interrupted run stood.

        Yields:
            Where it stands, valid until the next epoch begins.
        """
        parameters = {name: arrays[index].clone().requires_grad_() for name, arrays in self.learner.initial.items()}
        optimizer = self.optimizer(parameters)
        loss, accuracy = [*start.loss] if start else [], [*start.accuracy] if start else []
        if start:
            restore(start.arrays, parameters, optimizer, generator)
        images = with_copies(self.images, self.settings.copies, seed=self.seed)
        for epoch in range(len(loss), self.settings.epochs):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(self.settings, group["initial_lr"], epoch)
            order = torch.randperm(len(images), generator=generator).numpy()
            summed, hits = 0.0, 0
            for first in range(0, len(order), self.settings.batch_size):
                batch = images.take(order[first : first + self.settings.batch_size])
                losses, right = self.step(batch, parameters, optimizer, key=f"epoch {epoch}/seed {index}")
                summed, hits = summed + losses.double().sum().item(), hits + int(right.sum())
            loss.append(summed / len(order))
            accuracy.append(hits / len(order))
            yield Progress(loss, accuracy, state_of(parameters, optimizer, generator))

    @cached_property
    def loss(self) -> Loss:
        """Return the loss."""
        return loss_of(self.settings)

    @cached_property
    def gradient_encoder(self) -> Encoder:
        """Return the image tower of the attack, in its precision."""
        return self.clip.gradient_encoder()

    def optimizer(self, parameters: dict[str, Tensor]) -> torch.optim.Optimizer:
        """Return the optimiser; prompts of the image and of the text have learning rates of their own."""
        groups: list[dict[str, Any]] = []
        for name, tensor in parameters.items():
            lr = getattr(self.settings, "lr" if name in self.learner.on_images else "text_lr")
            groups.append({"params": [tensor], "lr": lr, "initial_lr": lr})
        decay = self.settings.weight_decay
        if self.settings.optimizer == "adam":
            return torch.optim.Adam(groups, betas=(self.settings.momentum, 0.999), weight_decay=decay)
        return torch.optim.SGD(groups, momentum=self.settings.momentum, weight_decay=decay)

    def step(
        self, batch: Images, parameters: dict[str, Tensor], optimizer: torch.optim.Optimizer, *, key: str
    ) -> tuple[Tensor, Tensor]:
        """Attack a share of a batch through the prompts as they are, and improve them on all of it.

        Returns:
            Losses (B,), and whether the images are classified correctly (B,).
        """
        text_features = self.learner.text_features(parameters)
        fixed = {name: tensor.detach() for name, tensor in parameters.items()}
        met = self.attacked(batch, fixed, text_features.detach(), key=key)
        features, gradients = self.image_gradients(met, batch, fixed, text_features.detach())
        logits = self.logits(features, text_features, parameters)
        losses = self.loss(features, logits, torch.tensor(batch.labels, device=self.device))
        for name, tensor in parameters.items():
            tensor.grad = gradients[name].mean(0) if name in gradients else None
        if losses.requires_grad:  # the text features depend on the parameters, some of which are perhaps image prompts
            through_text = torch.autograd.grad(losses.mean(), list(parameters.values()), allow_unused=True)
            for tensor, gradient in zip(parameters.values(), through_text, strict=True):
                if gradient is not None:
                    tensor.grad = gradient if tensor.grad is None else tensor.grad + gradient
        optimizer.step()
        return losses.detach(), logits[:, -1].argmax(-1).cpu() == torch.from_numpy(batch.labels)

    def attacked(self, batch: Images, parameters: dict[str, Tensor], text_features: Tensor, *, key: str) -> Images:
        """Attack all images of a batch but the first, a share of `clean_fraction`; the others take the eps by turns.

        Args:
            batch: B clean images, in random order.
            parameters: The prompts.
            text_features: Those of the learner.
            key: Of the noise, beside the ids of the images.

        Returns:
            The images that prompts are tuned on, 8-bit, in the order of the batch.
        """
        choices, clean = self.settings.eps, round(self.settings.clean_fraction * len(batch))
        prompts = {name: parameters[name] for name in self.learner.on_images}
        pixels = batch.pixels.copy()

        def logits_of(images: Tensor) -> Tensor:
            features = self.learner.encode_image(self.gradient_encoder, filled(images), prompts)
            return self.logits(features, text_features, parameters)[: len(images)]

        def craft(turn: int, eps: float) -> None:
            chosen = np.arange(clean + turn, len(batch), len(choices))
            if len(chosen):
                pixels[chosen] = craft_shard(
                    self.attack_of(logits_of, eps=eps, key=key),
                    batch.take(chosen),
                    ball=LinfBall(eps / 255),
                    seed=self.seed,
                    device=self.device,
                    batching=even_batches(runtime, len(chosen), self.device.type),
                ).pixels

        workers = self.runtime.workers_on(self.device.type)
        side_by_side = min(workers, len(choices))  # too few images have the same eps to split them
        runtime = self.runtime.model_copy(update={"workers": max(workers // side_by_side, 1)})
        with ThreadPoolExecutor(side_by_side) as pool:
            list(pool.map(craft, range(len(choices)), choices))
        return Images(batch.ids, batch.labels, pixels)

    def attack_of(self, logits_of: Encoder, *, eps: float, key: str) -> Attack:
        """Return PGD on the objective of the loss, eps in 1/255, its start not clipped before the first gradient."""
        ball, step_size, steps = steps_of(eps, self.settings.steps, self.settings.step_ratio)

        def attack(images: Tensor, labels: Tensor, noise: ImageNoise) -> Tensor:
            noise = noise.beside(key)
            drawn = noise.uniform(tuple(images.shape[1:]), low=-1, high=1).to(images.device)
            objective, start = self.loss.objective(logits_of, images, labels), images + ball.eps * drawn
            return pgd(objective, images, ball=ball, step_size=step_size, steps=steps, noise=noise, start=start)

        return attack

    def image_gradients(
        self, met: Images, clean: Images, parameters: dict[str, Tensor], text_features: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the raw features of images, and the gradients (B, ...) of the loss of each in the prompts.

        Each image has a copy of the prompts, so what is summed does not depend on how images are put together.

        Args:
            met: B attacked images.
            clean: The same before the attack.
            parameters: The prompts.
            text_features: Those of the learner.

        Returns:
            Features (B, V, D) of the V forms of each image that the loss depends on, and the gradients.
        """
        prompts = {name: parameters[name] for name in self.learner.on_images}
        forms = [clean, met] if self.loss.with_clean else [met]
        places = {id: place for place, id in enumerate(met.ids)}

        def of_batch(part: Images) -> np.ndarray:
            count, labels = len(part), torch.tensor(part.labels, device=self.device)
            rows = [places[id] for id in part.ids]
            shown = [filled(to_tensor(form.pixels[rows], self.device)) for form in forms]
            own = {name: tensor.expand(len(shown[0]), *tensor.shape).clone() for name, tensor in prompts.items()}
            for tensor in own.values():
                tensor.requires_grad_()
            with torch.set_grad_enabled(bool(own)):
                encoded = [self.learner.encode_image(self.clip.encode_image, images, own) for images in shown]
                features = torch.stack([of_form[:count] for of_form in encoded], dim=1)
                logits = torch.stack(
                    [self.logits(of_form, text_features, parameters)[:count] for of_form in encoded], dim=1
                )
                losses = self.loss(features, logits, labels).sum()
            found = torch.autograd.grad(losses, list(own.values())) if own else ()
            columns = [features.detach().flatten(1), *(gradient[:count].flatten(1) for gradient in found)]
            return torch.cat(columns, dim=1).cpu().numpy()

        batching = even_batches(self.runtime, len(met), self.device.type)
        found = torch.from_numpy(over_batches(of_batch, met, batching)).to(self.device)
        sizes = [tensor.numel() for tensor in prompts.values()]
        features, *gradients = found.split([found.shape[1] - sum(sizes), *sizes], dim=1)
        shaped = zip(prompts.items(), gradients, strict=True)
        features = features.unflatten(1, (len(forms), -1))
        return features, {name: gradient.unflatten(1, tensor.shape) for (name, tensor), gradient in shaped}

    def logits(self, features: Tensor, text_features: Tensor, parameters: dict[str, Tensor]) -> Tensor:
        """Return the logits (..., K) of raw features (..., D), divided by the temperature of the loss."""
        scale = self.clip.logit_scale / self.settings.temperature
        if "router" in parameters:
            return routed_logits(features, text_features, parameters["router"], scale)
        return cosine_logits(features, text_features, scale)


def filled(images: Tensor) -> Tensor:
    """Return at least SMALLEST_BATCH images, copies of the first behind them (N, C, H, W).

    Small matrix products take other kernels, whose sums differ in the last bit.
    """
    copies = max(SMALLEST_BATCH - len(images), 0)
    return torch.cat([images, images[:1].expand(copies, -1, -1, -1)]) if copies else images


def state_of(parameters: dict[str, Tensor], optimizer: torch.optim.Optimizer, generator: torch.Generator) -> Arrays:
    """Return parameters by name, their states (`name/key`) and that of the `generator`, valid until the next step."""
    arrays = {name: tensor.detach() for name, tensor in parameters.items()}
    for name, tensor in parameters.items():
        arrays |= {f"{name}/{key}": value for key, value in optimizer.state[tensor].items()}
    return {name: tensor.cpu().numpy() for name, tensor in {**arrays, "generator": generator.get_state()}.items()}


def restore(
    arrays: Arrays, parameters: dict[str, Tensor], optimizer: torch.optim.Optimizer, generator: torch.Generator
) -> None:
    """Bring parameters, optimiser and generator to a state of `state_of`."""
    for name, tensor in parameters.items():
        with torch.no_grad():
            tensor.copy_(torch.tensor(arrays[name]))
        kept = {key.partition("/")[2]: array for key, array in arrays.items() if key.startswith(f"{name}/")}
        if "step" in kept:  # a number, which torch keeps on the CPU and files hold as an array of one
            optimizer.state[tensor]["step"] = torch.tensor(kept.pop("step").item())
        optimizer.state[tensor] |= {key: torch.tensor(array, device=tensor.device) for key, array in kept.items()}
    generator.set_state(torch.tensor(arrays["generator"]))
