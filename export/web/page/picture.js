// Pictures -> raw pixels, as Pillow reads and shrinks them for `python -m export run`.

/** A picture file or a picture of this site, ready to be drawn. */
export async function open(fileOrUrl) {
  if (typeof fileOrUrl === "string") {
    const image = new Image();
    image.src = fileOrUrl;
    await image.decode();
    return image;
  }
  try {
    return await createImageBitmap(fileOrUrl, { colorSpaceConversion: "none" });
  } catch {
    throw new Error(`${fileOrUrl.name || "This"} is not a readable picture: choose PNG or JPEG.`);
  }
}

/** Pixels of a picture at its own size: {data, width, height}, 1 (gray) or 3 channels. */
export function pixels(picture, channels) {
  const { width, height } = picture;
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  context.drawImage(picture, 0, 0);
  const rgba = context.getImageData(0, 0, width, height).data;
  const data = new Uint8Array(width * height * channels);
  for (let i = 0, o = 0; i < rgba.length; i += 4) {
    if (channels === 1) {
      data[o++] = (rgba[i] * 19595 + rgba[i + 1] * 38470 + rgba[i + 2] * 7471 + 0x8000) >> 16;
    } else {
      for (let channel = 0; channel < 3; channel++) data[o++] = rgba[i + channel];
    }
  }
  return { data, width, height };
}

/** Scales with a triangle twice as wide as an output pixel: along rows, rounded, then columns. */
export function resize({ data, width, height }, toWidth, toHeight, channels) {
  if (width === toWidth && height === toHeight) return { data, width, height };
  const narrow = new Uint8Array(toWidth * height * channels);
  const row = toWidth * channels;
  const rows = { lines: height, step: channels, stride: width * channels, toStride: row };
  scale(data, narrow, width, toWidth, channels, rows);
  const small = new Uint8Array(toHeight * row);
  const columns = { lines: toWidth, step: row, stride: channels, toStride: channels };
  scale(narrow, small, height, toHeight, channels, columns);
  return { data: small, width: toWidth, height: toHeight };
}

/** Scales pixels that lie `step` apart, in each of the `lines` that lie `stride` apart. */
function scale(from, to, size, toSize, channels, { lines, step, stride, toStride }) {
  const ratio = size / toSize;
  const support = Math.max(ratio, 1);
  for (let o = 0; o < toSize; o++) {
    const centre = (o + 0.5) * ratio;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const end = Math.min(size, Math.trunc(centre + support + 0.5));
    const weights = Array.from({ length: end - first }, (_, i) =>
      Math.max(0, 1 - Math.abs((first + i - centre + 0.5) / support)),
    );
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    for (let line = 0; line < lines; line++) {
      for (let channel = 0; channel < channels; channel++) {
        let sum = 0;
        for (let i = first; i < end; i++) {
          sum += weights[i - first] * from[line * stride + i * step + channel];
        }
        to[line * toStride + o * step + channel] = Math.round(sum / total);
      }
    }
  }
}
