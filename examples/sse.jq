# Turn the server-sent events of an OpenAI-style stream into the lines that the filters read:
#   curl -sN URL/v1/chat/completions -d BODY | jq -Rc --unbuffered -f examples/sse.jq | extract-content
select(startswith("data: {")) | .[6:] | fromjson | . as $event | (.choices // [])[] |
{
  model: $event.model,
  message: {role: "assistant", content: (.delta.content // ""), thinking: (.delta.reasoning_content // "")},
  done: (.finish_reason != null)
} + (if .finish_reason then {done_reason: .finish_reason} else {} end)
