import { attacksPage } from '@vouchsafe/cli/attacks';
import { checksPage } from './checks-page.js';
import { structuresPage } from './structures-page.js';
import { verifyPage } from './verify-page.js';

export interface GeneratedPage {
  /** From the root of the tree. */
  readonly path: string;
  /** Most of the page is written by hand. */
  readonly byHand?: boolean;
  render(): string | Promise<string>;
}

/** Every page that is written from the code and not by hand. */
export const generatedPages: readonly GeneratedPage[] = [
  { path: 'docs/reference/structures.md', render: structuresPage },
  { path: 'docs/checks.md', render: checksPage },
  { path: 'docs/attacks.md', render: attacksPage },
  { path: 'docs/verify.md', byHand: true, render: verifyPage },
];

const notice = '<!-- Written from the code by `npm run docs`: edit the code, not this page. -->';

/** The page as it belongs into its file. */
export async function pageText(page: GeneratedPage): Promise<string> {
  const text = `${(await page.render()).trimEnd()}\n`;
  return page.byHand === true ? text : `${notice}\n\n${text}`;
}
