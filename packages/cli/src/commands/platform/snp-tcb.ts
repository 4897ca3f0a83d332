import { readFile } from 'node:fs/promises';
import {
  MalformedError,
  type ProductLine,
  parseTcbVersion,
  productLineOfCpuid,
  type TcbLayout,
  type TcbVersion,
  tcbLayout,
} from '@vouchsafe/sev';

/** TCB versions as a platform has them: eight bytes, whose layout the product line decides. */

/** The product line of this machine's processor, as Linux tells it; undefined where it does not. */
export async function hostProductLine(path = '/proc/cpuinfo'): Promise<ProductLine | undefined> {
  const text = await readFile(path, 'utf8').catch(() => '');
  const number = (name: string) => Number(new RegExp(`^${name}\\s*:\\s*(\\d+)$`, 'm').exec(text)?.[1]);
  const [family, model] = [number('cpu family'), number('model')];
  return text.includes('AuthenticAMD') ? productLineOfCpuid({ family, model })?.line : undefined;
}

/** Where the line is not known, the bytes that are reserved in one layout or the other tell. */
export function layoutOf(bytes: Uint8Array, line: ProductLine | undefined): TcbLayout {
  if (line !== undefined) return tcbLayout(line);
  try {
    parseTcbVersion(bytes, 'milan');
    return 'milan';
  } catch (error) {
    if (error instanceof MalformedError) return 'turin';
    throw error;
  }
}

/** @throws MalformedError for bytes that are none of this line */
export function readTcb(bytes: Uint8Array, line: ProductLine | undefined): TcbVersion {
  return parseTcbVersion(bytes, layoutOf(bytes, line));
}
