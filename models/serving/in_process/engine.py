"""The engine of continuous batching: requests arrive at any time and share one running batch."""

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from models.serving.engine import PAGED
from models.serving.in_process.base import InProcessRequest, TransformersEngine, Work
from models.serving.in_process.batching import Batcher
from models.serving.in_process.limits import EngineLimits

__all__ = ["InProcessEngine", "InProcessRequest"]


class InProcessEngine(TransformersEngine):
    """Generates completions with one model by continuous batching, as `models.serving.engine.Engine`."""

    name = PAGED

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, limits: EngineLimits | None = None
    ) -> None:
        """Start the engine's thread and allocate its cache. `limits` default to those that suit the model's device.

        Raises ValueError if the limits leave no room for a request.
        """
        super().__init__(model, tokenizer, limits or EngineLimits.for_model(model), reason=None)
        self._batcher = Batcher(model, self.limits, self._receive, self._on_exit)
        self._batcher.start()

    def _start(self, work: Work) -> bool:
        return self._batcher.submit(work)

    def _drop(self, request_id: str) -> None:
        self._batcher.cancel_request(request_id)

    def _stop(self) -> None:
        if self._batcher.is_running():
            self._batcher.stop(hard_stop=True)
