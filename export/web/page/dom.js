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

/**
 * Runs `work` one call at a time; of the calls that come meanwhile only the last one follows. `work`
 * gets a function that tells whether one waits, so that it can stop.
 */
export function newest(work) {
  let isBusy = false;
  let isAsked = false;
  return async () => {
    isAsked = true;
    if (isBusy) return;
    isBusy = true;
    try {
      while (isAsked) {
        isAsked = false;
        await work(() => isAsked);
      }
    } finally {
      isBusy = false;
    }
  };
}
