import { isUtf8 } from 'node:buffer';
import { gunzipSync } from 'node:zlib';
import { inspectImage, OciLayout } from '@vouchsafe/guest';
import { concat, toHex } from '@vouchsafe/sev';
import type { Narrator } from '../narration.js';
import { imageName } from './sample-image.js';

/** What a curious host finds in the image that it keeps. @returns how many layers it can read */
export async function lookAtImage(folder: string, narrate: Narrator): Promise<number> {
  const layout = await OciLayout.open(folder);
  const { layers } = await inspectImage(layout, imageName);
  let readable = 0;
  for (const [index, { digest }] of layers.entries()) {
    const pieces: Uint8Array[] = [];
    for await (const piece of layout.pieces(digest)) pieces.push(piece.slice());
    const blob = concat(...pieces);
    const isPlain = isReadable(blob);
    if (isPlain) readable += 1;
    const what = isPlain ? 'plain text' : 'ciphertext';
    await narrate.sight(`layer ${index}`, 'host', `${what} ${toHex(blob.subarray(0, 12))}`);
  }
  return readable;
}

/** A layer in plain text is a tar file, mostly compressed. */
function isReadable(blob: Uint8Array): boolean {
  try {
    gunzipSync(blob);
    return true;
  } catch {
    return isUtf8(blob);
  }
}
