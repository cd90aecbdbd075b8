(...values) => values.map(
  // HTML is replaced by the view that it shows
  (value) => typeof value === "string" && value.startsWith("<") ? value.match(/data-view="([\w-]+)"/)?.[1] ?? "" : value
)
