import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';

const repository = resolve(import.meta.dirname, '../../..');
const listed = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '*.md'], {
  cwd: repository,
  encoding: 'utf8',
});
const pages = listed.split('\n').filter((path) => path !== '' && existsSync(join(repository, path)));

interface Link {
  readonly text: string;
  /** Path from the repository's root. */
  readonly path: string;
  /** Heading that it leads to, as GitHub spells it. */
  readonly heading: string | undefined;
}

/** Links of a page to files of this repository. */
function linksOf(page: string): Link[] {
  const prose = readFileSync(join(repository, page), 'utf8').replaceAll(/^```.*?^```$/gms, '');
  return [...prose.matchAll(/\]\(([^)\s]+)\)/g)].flatMap(([, text = '']) => {
    if (/^[a-z]+:/.test(text)) return [];
    const [path = '', heading] = text.split('#');
    const target = path === '' ? page : relative(repository, resolve(repository, dirname(page), path));
    return [{ text, path: target, heading }];
  });
}

function headingsOf(page: string): string[] {
  const lines = readFileSync(join(repository, page), 'utf8').split('\n');
  return lines.flatMap((line) => {
    const title = /^#+ (.*)$/.exec(line)?.[1];
    return title === undefined
      ? []
      : [
          title
            .toLowerCase()
            .replaceAll(/[^\w\- ]/g, '')
            .replaceAll(' ', '-'),
        ];
  });
}

describe('links between pages', () => {
  it.each(pages)('%s leads to what there is', (page) => {
    const broken = linksOf(page).filter(
      ({ path, heading }) =>
        !existsSync(join(repository, path)) || (heading !== undefined && !headingsOf(path).includes(heading)),
    );
    expect(broken.map(({ text }) => text)).toEqual([]);
  });

  it('lead from the README to every page', () => {
    const reached = new Set(['README.md']);
    for (const page of reached) {
      for (const { path } of linksOf(page))
        if (path.endsWith('.md') && pages.includes(path)) reached.add(path);
    }
    expect(pages.filter((page) => !reached.has(page))).toEqual([]);
  });
});
