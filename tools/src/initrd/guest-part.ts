import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';

/**
 * The part of `vouchsafe` that an initrd holds, as one file for Node: made of the sources, so that no stale build can
 * end up in a measured image.
 * @param root folder of the repository
 */
export async function bundleGuestPart(root: string): Promise<Uint8Array> {
  const folder = join(root, 'packages/cli');
  const { version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { version: string };
  const { outputFiles } = await build({
    entryPoints: [join(folder, 'src/initrd-main.ts')],
    bundle: true,
    write: false,
    minifySyntax: true,
    minifyWhitespace: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    charset: 'utf8',
    conditions: ['vouchsafe-source'],
    // Native code that only /dev/sev-guest needs; the initrd's devices are configfs and sockets.
    external: ['koffi'],
    define: { 'process.env.VOUCHSAFE_VERSION': JSON.stringify(version) },
    banner: {
      js: "import { createRequire as nodeRequire } from 'node:module'; const require = nodeRequire(import.meta.url);",
    },
    legalComments: 'none',
    logLevel: 'silent',
  });
  return outputFiles[0]!.contents;
}
