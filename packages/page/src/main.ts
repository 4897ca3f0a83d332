import { VouchsafeError } from '@vouchsafe/sev';
import { recognise } from './files.js';
import { verifyFiles } from './verify.js';
import { type DroppedFile, fileList, result } from './view.js';

function byId<T extends HTMLElement>(id: string, type: new () => T): T {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new TypeError(`no ${id} in the page`);
  return found;
}

const zone = byId('drop', HTMLElement);
const picker = byId('picker', HTMLInputElement);
const listed = byId('files', HTMLElement);
const output = byId('result', HTMLElement);
const date = byId('at', HTMLInputElement);
const box = (id: string) => byId(id, HTMLInputElement);
const boxes = {
  allowDebug: box('allow-debug'),
  allowMigrationAgent: box('allow-migration-agent'),
  allowProvisional: box('allow-provisional'),
  trustDevelopmentRoot: box('trust-development-root'),
};

let files: readonly DroppedFile[] = [];
/** Counts the runs, so that a slow one never overwrites a newer. */
let latest = 0;

async function add(dropped: readonly File[]): Promise<void> {
  const read = dropped.map(async (file) => ({
    name: file.name,
    content: recognise(new Uint8Array(await file.arrayBuffer())),
  }));
  files = [...files, ...(await Promise.all(read))];
  await show();
}

async function show(): Promise<void> {
  const run = ++latest;
  listed.replaceChildren(fileList(files));
  const message = (text: string) => Object.assign(document.createElement('p'), { textContent: text });
  const shown = await verify().catch((error: unknown) => {
    if (!(error instanceof VouchsafeError)) throw error;
    return message(`Not verified: ${error.message}`);
  });
  if (run === latest) output.replaceChildren(shown ?? message('Drop a report to verify it.'));
}

async function verify(): Promise<HTMLElement | undefined> {
  if (globalThis.crypto?.subtle === undefined)
    throw new TypeError('this browser has no WebCrypto here: open the page from https, localhost or a file');
  const wishes = {
    at: date.value === '' ? Date.now() : Date.parse(`${date.value}Z`),
    allowDebug: boxes.allowDebug.checked,
    allowMigrationAgent: boxes.allowMigrationAgent.checked,
    allowProvisional: boxes.allowProvisional.checked,
    trustDevelopmentRoot: boxes.trustDevelopmentRoot.checked,
  };
  const appraisal = await verifyFiles(
    files.map(({ content }) => content),
    wishes,
  );
  return appraisal && result(appraisal);
}

/** Nothing of a verification is left on the page when something of ours broke: no verdict is better than a stale one. */
function start(work: () => Promise<void>): void {
  work().catch((error: unknown) => {
    output.textContent = `Not verified: ${error instanceof Error ? error.message : String(error)}`;
  });
}

picker.addEventListener('change', () => {
  const chosen = [...(picker.files ?? [])];
  picker.value = '';
  start(() => add(chosen));
});
for (const name of ['dragenter', 'dragover'] as const) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    zone.classList.add('over');
  });
}
document.addEventListener('dragleave', () => zone.classList.remove('over'));
document.addEventListener('drop', (event) => {
  event.preventDefault();
  zone.classList.remove('over');
  const dropped = [...(event.dataTransfer?.files ?? [])];
  start(() => add(dropped));
});
byId('clear', HTMLButtonElement).addEventListener('click', () => {
  files = [];
  start(show);
});
for (const input of [date, ...Object.values(boxes)]) input.addEventListener('change', () => start(show));
