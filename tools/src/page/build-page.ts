import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';

/**
 * The page that verifies reports, as one HTML file. Its content policy names the one script and the one style by digest
 * and nothing else, so that it cannot touch the network even if it wanted to.
 * @param root folder of the repository
 */
export async function buildPage(root: string): Promise<string> {
  const sources = join(root, 'packages/page/src');
  const bundle = async (file: string) => {
    const { outputFiles } = await build({
      entryPoints: [join(sources, file)],
      bundle: true,
      write: false,
      minify: true,
      platform: 'browser',
      format: 'esm',
      target: 'es2022',
      charset: 'utf8',
      conditions: ['vouchsafe-source'],
      logLevel: 'silent',
    });
    return outputFiles[0]!.text.trim();
  };
  const [script, style] = await Promise.all([bundle('main.ts'), bundle('page.css')]);
  // A script ends at this tag wherever it stands; none of ours has one.
  if (/<\/(?:script|style)/i.test(script + style)) throw new Error('the page’s script would end early');
  const policy = [
    `default-src 'none'`,
    `script-src '${digest(script)}'`,
    `style-src '${digest(style)}'`,
    `base-uri 'none'`,
    `form-action 'none'`,
  ].join('; ');
  const parts: Readonly<Record<string, string>> = {
    '{policy}': policy,
    '<!-- style -->': `<style>${style}</style>`,
    '<!-- script -->': `<script type="module">${script}</script>`,
  };
  const template = readFileSync(join(sources, 'page.html'), 'utf8');
  return template.replaceAll(/\{policy\}|<!-- (?:style|script) -->/g, (name) => parts[name]!);
}

const digest = (text: string) => `sha256-${createHash('sha256').update(text).digest('base64')}`;
