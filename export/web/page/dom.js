/** An element; names that start with "on" are events, others properties or attributes. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** Runs `work` one call at a time; of the calls that come meanwhile only the last one follows. */
export function newest(work) {
  let isBusy = false;
  let waiting = null;
  return async (...values) => {
    waiting = values;
    if (isBusy) return;
    isBusy = true;
    try {
      while (waiting) {
        const now = waiting;
        waiting = null;
        await work(...now);
      }
    } finally {
      isBusy = false;
    }
  };
}
