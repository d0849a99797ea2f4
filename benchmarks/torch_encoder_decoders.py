"""The attention models in plain PyTorch, layer by layer the same networks, and a training loop."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

PAD = 0
SMALL = 0.1  # the captioner's embedding and output weights start uniform in ±0.1

Batch = tuple[tuple[Tensor, Tensor], Tensor]  # (source, target_in), target_out


class TextModel(nn.Module):
    """The text encoder-decoder with attention, source (B, S) and target_in (B, T) -> (B, T, V).

    Args:
        source_size, target_size: vocabulary sizes.
        attention: "bilinear" (2022-23) or "bahdanau" (2024-25).
        dropout: rate on embeddings and final outputs.
        hidden: size of embeddings and decoder state.
    """

    def __init__(
        self, source_size: int, target_size: int, attention: str, dropout: float, hidden: int = 128
    ) -> None:
        super().__init__()
        self.source_embedding = nn.Embedding(source_size, hidden)
        self.target_embedding = nn.Embedding(target_size, hidden)
        self.encoder = nn.LSTM(hidden, hidden // 2, batch_first=True, bidirectional=True)
        self.decoder = nn.LSTM(hidden, hidden, batch_first=True)
        self.query = nn.Linear(hidden, hidden, bias=False)
        if attention == "bahdanau":
            self.key = nn.Linear(hidden, hidden, bias=False)
            self.score = nn.Linear(hidden, 1, bias=False)
        self.combine = nn.Linear(2 * hidden, hidden)
        self.bias = nn.Parameter(torch.zeros(target_size))
        self.dropout = nn.Dropout(dropout)
        self.attention = attention

    def forward(self, source: Tensor, target_in: Tensor) -> Tensor:
        mask = source != PAD
        embedded = self.dropout(self.source_embedding(source))
        packed = pack_padded_sequence(embedded, mask.sum(1), batch_first=True, enforce_sorted=False)
        memory, (h, c) = self.encoder(packed)
        memory, _ = pad_packed_sequence(memory, batch_first=True)
        memory = self.dropout(memory)
        state = tuple(x.transpose(0, 1).reshape(1, len(source), -1) for x in (h, c))
        output, _ = self.decoder(self.dropout(self.target_embedding(target_in)), state)
        query = self.query(output)
        if self.attention == "bilinear":
            scores = query @ memory.transpose(1, 2)
        else:
            matched = torch.tanh(query[:, :, None] + self.key(memory)[:, None])
            scores = self.score(matched).squeeze(-1)  # (B, T, S)
        look = scores.masked_fill(~mask[:, None], -torch.inf).softmax(-1)
        joined = self.combine(torch.cat([output, look @ memory], -1))
        output = self.dropout(torch.tanh(joined))
        return nn.functional.linear(output, self.target_embedding.weight, self.bias)


class Captioner(nn.Module):
    """The captioner with attention, features (B, P, C) and target_in (B, T) -> (B, T, V).

    Args:
        vocabulary_size: V.
        channels: C.
        dropout: rate on the LSTM's output.
        hidden, word_size, attention_size: as in the homework.
    """

    def __init__(
        self,
        vocabulary_size: int,
        channels: int,
        dropout: float,
        hidden: int = 256,
        word_size: int = 100,
        attention_size: int = 100,
    ) -> None:
        super().__init__()
        self.first_h, self.first_c = nn.Linear(channels, hidden), nn.Linear(channels, hidden)
        self.embedding = nn.Embedding(vocabulary_size, word_size)
        self.cell = nn.LSTMCell(word_size + channels, hidden)
        self.query = nn.Linear(hidden, attention_size, bias=False)
        self.key = nn.Linear(channels, attention_size)
        self.score = nn.Linear(attention_size, 1, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.logits = nn.Linear(hidden, vocabulary_size)
        for weight in (self.embedding.weight, self.logits.weight):
            nn.init.uniform_(weight, -SMALL, SMALL)

    def forward(self, features: Tensor, target_in: Tensor) -> Tensor:
        mean = features.mean(1)
        h, c = self.first_h(mean), self.first_c(mean)
        words, keys = self.embedding(target_in), self.key(features)
        outputs = []
        for word in words.unbind(1):
            scores = self.score(torch.relu(self.query(h)[:, None] + keys)).squeeze(-1)
            context = (scores.softmax(-1)[:, None] @ features).squeeze(1)
            h, c = self.cell(torch.cat([word, context], -1), (h, c))
            outputs.append(h)
        return self.logits(self.dropout(torch.stack(outputs, 1)))


@torch.no_grad()
def load_keras_weights(network: nn.Module, weights: dict[str, Sequence[np.ndarray]]) -> None:
    """Copies weights into a twin.

    Args:
        network: a `TextModel` or `Captioner`.
        weights: by name of the twin's attribute, what ``get_weights()`` of the Keras layer gives:
            kernels (in, out), LSTMs (kernel, recurrent kernel, one bias) with gates in PyTorch's
            order; for a bidirectional LSTM those of both directions, one after the other.
    """
    for name, arrays in weights.items():
        target = getattr(network, name)
        values = list(target.parameters()) if isinstance(target, nn.Module) else [target]
        if isinstance(target, (nn.LSTM, nn.LSTMCell)):  # PyTorch's second bias is superfluous
            arrays = [x for i in range(0, len(arrays), 3) for x in arrays[i : i + 3]]
            arrays = [
                x
                for kernel, recurrent, bias in zip(*(arrays[k::3] for k in range(3)), strict=True)
                for x in (kernel.T, recurrent.T, bias, 0 * bias)
            ]
        elif isinstance(target, nn.Linear):
            arrays = [arrays[0].T, *arrays[1:]]
        for value, array in zip(values, arrays, strict=True):
            value.copy_(torch.from_numpy(np.ascontiguousarray(array)))


class Trainer:
    """A network and its optimizer, trained on given batches.

    Args:
        network: a `TextModel` or `Captioner`.
        learning_rate: of Adam.
        clip_value: gradients are clipped element-wise to ± this; None: not at all.
    """

    def __init__(
        self, network: nn.Module, learning_rate: float, clip_value: float | None = None
    ) -> None:
        self.network = network.train()
        self.optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
        self.clip_value = clip_value
        self.loss = nn.CrossEntropyLoss(ignore_index=PAD)

    def epoch(self, batches: Iterable[Batch]) -> float:
        """Trains one epoch and returns the mean of the batches' losses."""
        losses = []
        for inputs, target_out in batches:
            self.optimizer.zero_grad()
            logits = self.network(*inputs)
            loss = self.loss(logits.flatten(0, 1), target_out.flatten())
            loss.backward()
            if self.clip_value is not None:
                nn.utils.clip_grad_value_(self.network.parameters(), self.clip_value)
            self.optimizer.step()
            losses.append(loss.item())
        return sum(losses) / len(losses)
