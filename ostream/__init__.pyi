"""The public names, for type checkers and editors. At run time, a name is imported when it is first used."""

from ostream import errors as errors
from ostream import testing as testing
from ostream import types as types
from ostream.client import (
    Client as Client,
)
from ostream.client import (
    chat as chat,
)
from ostream.client import (
    generate as generate,
)
from ostream.errors import (
    ConnectError as ConnectError,
)
from ostream.errors import (
    IncompleteStream as IncompleteStream,
)
from ostream.errors import (
    NotNDJSON as NotNDJSON,
)
from ostream.errors import (
    OstreamError as OstreamError,
)
from ostream.errors import (
    RequestError as RequestError,
)
from ostream.errors import (
    ResponseError as ResponseError,
)
from ostream.errors import (
    StreamTimeout as StreamTimeout,
)
from ostream.protocol.accumulator import Accumulator as Accumulator
from ostream.protocol.chunk import (
    content as content,
)
from ostream.protocol.chunk import (
    thinking as thinking,
)
from ostream.protocol.chunk import (
    tool_calls as tool_calls,
)
from ostream.protocol.metrics import Metrics as Metrics
from ostream.protocol.ndjson import (
    decode_line as decode_line,
)
from ostream.protocol.ndjson import (
    split_lines as split_lines,
)
from ostream.protocol.objects import (
    ChatResponse as ChatResponse,
)
from ostream.protocol.objects import (
    Chunk as Chunk,
)
from ostream.protocol.objects import (
    GenerateResponse as GenerateResponse,
)
from ostream.protocol.objects import (
    Message as Message,
)
from ostream.protocol.request_objects import (
    Image as Image,
)
from ostream.protocol.request_objects import (
    Options as Options,
)
from ostream.protocol.request_objects import (
    Tool as Tool,
)
from ostream.stream import Stream as Stream
from ostream.tools.functions import run_tools as run_tools
from ostream.version import __version__ as __version__
