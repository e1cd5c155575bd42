"""Objects for requests, with the names and fields of the official SDK. Plain dicts can be used instead."""

from __future__ import annotations

from ostream.protocol.attrdict import AttrDict, fields, item
from ostream.protocol.option_names import OLD_OPTION_NAMES, OPTION_NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


@fields(*OPTION_NAMES, *OLD_OPTION_NAMES)
class Options(AttrDict):
    """Model options, for example `Options(temperature=0, num_ctx=8192)`. Options that are None are not sent.

    The attributes are the options of Ollama, which its documentation of model files ("PARAMETER") describes. Other
    names are sent as well; servers ignore options that they do not know.
    """

    __slots__ = ()
    num_keep: int | None
    seed: int | None
    num_predict: int | None
    top_k: int | None
    top_p: float | None
    min_p: float | None
    typical_p: float | None
    repeat_last_n: int | None
    temperature: float | None
    repeat_penalty: float | None
    presence_penalty: float | None
    frequency_penalty: float | None
    stop: list[str] | None
    num_ctx: int | None
    num_batch: int | None
    num_gpu: int | None
    main_gpu: int | None
    use_mmap: bool | None
    num_thread: int | None
    draft_num_predict: int | None
    numa: bool | None
    low_vram: bool | None
    f16_kv: bool | None
    logits_all: bool | None
    vocab_only: bool | None
    use_mlock: bool | None
    embedding_only: bool | None
    tfs_z: float | None
    mirostat: int | None
    mirostat_tau: float | None
    mirostat_eta: float | None
    penalize_newline: bool | None


@fields("type", "function")
class Tool(AttrDict):
    """A tool that the model may call, as a schema. `chat` also accepts functions, and makes their schemas itself.

    Attributes:
        type: "function" (default).
        function: a Tool.Function, or a dict with the same names: `name`, `description` and `parameters`.
    """

    __slots__ = ()

    @fields("name", "description", "parameters")
    class Function(AttrDict):
        """The name, the description and the parameters of a tool."""

        __slots__ = ()

        @fields()
        class Parameters(AttrDict):
            """The JSON schema of a tool's arguments: `type` ("object" by default), `properties` and `required`."""

            __slots__ = ()

            @fields()
            class Property(AttrDict):
                """The JSON schema of one argument."""

                __slots__ = ()
                type: Any
                description: str | None
                enum: list[Any] | None

            def __init__(self, *args: Any, **items: Any) -> None:
                super().__init__(*args, **items)
                self.setdefault("type", "object")
                if "defs" in self:
                    self["$defs"] = self.pop("defs")

            type: str
            required: list[str] | None

            @property
            def properties(self) -> dict[str, Property] | None:
                """The schema of each argument, by its name."""
                schemas: Any = self.get("properties")
                for name, value in schemas.items() if isinstance(schemas, dict) else ():
                    if type(value) is dict:
                        schemas[name] = Tool.Function.Parameters.Property(value)
                return schemas  # type: ignore[no-any-return]

        name: str | None
        description: str | None
        parameters: Parameters | None = item("parameters", Parameters)

    def __init__(self, *args: Any, **items: Any) -> None:
        super().__init__(*args, **items)
        self.setdefault("type", "function")

    type: str
    function: Function | None = item("function", Function)


@fields("value")
class Image(AttrDict):
    """An image or a sound for a message or for `generate`.

    `value` is bytes, a path object, base64 text or a data: URL. The file of a path object is read when the request is
    built. Text is never used as a file name. Base64 text is decoded; whether the result is an image or a sound is not
    checked.
    """

    __slots__ = ()
    value: Any

    def model_dump(self, **_: Any) -> str:
        """Return the image as the base64 text that is sent to the server.

        Raises RequestError if the file cannot be read or the text is not base64.
        """
        from ostream.protocol.request import encode_image

        return encode_image(self)
