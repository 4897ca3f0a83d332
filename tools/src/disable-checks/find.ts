import ts from 'typescript';

/** One check in a source, and the text that switches it off. */
export interface CheckSite {
  /** From the root of the tree. */
  readonly path: string;
  readonly line: number;
  /** What kind of place it is: `guard`, `throw`, `report`, … */
  readonly kind: string;
  /** The check as written, shortened. */
  readonly text: string;
  readonly start: number;
  readonly end: number;
  readonly replacement: string;
}

/** Every place of a source where something is checked. See the kinds in {@link sitesAt}. */
export function findChecks(path: string, text: string): CheckSite[] {
  const source = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true);
  const sites: CheckSite[] = [];
  function visit(node: ts.Node): void {
    for (const { kind, at, replacement } of sitesAt(node)) {
      const start = at.getStart(source);
      const shown = (kind === 'codec' || kind === 'schema' ? node : at)
        .getText(source)
        .replaceAll(/\s+/g, ' ');
      sites.push({
        path,
        line: source.getLineAndCharacterOfPosition(start).line + 1,
        kind,
        text: shown.length > 90 ? `${shown.slice(0, 89)}…` : shown,
        start,
        end: at.end,
        replacement,
      });
    }
    ts.forEachChild(node, visit);
  }
  visit(source);
  return sites;
}

export function switchedOff(text: string, site: CheckSite): string {
  return text.slice(0, site.start) + site.replacement + text.slice(site.end);
}

interface Found {
  readonly kind: string;
  readonly at: ts.Node;
  readonly replacement: string;
}

function sitesAt(node: ts.Node): Found[] {
  // if (a || b) throw …: each of a and b is a check of its own
  if (ts.isIfStatement(node) && refuses(node.thenStatement)) {
    return operands(node.expression, ts.SyntaxKind.BarBarToken).map((at) => ({
      kind: 'guard',
      at,
      replacement: 'false',
    }));
  }
  // if (good) …; else throw …: to switch it off is to do nothing
  if (refuses(node) && !isInGuard(node)) {
    if (ts.isThrowStatement(node)) return [{ kind: 'throw', at: node, replacement: '{}' }];
  }
  if (ts.isCallExpression(node)) return sitesOfCall(node);
  if (ts.isPropertyAssignment(node) && ts.isIdentifier(node.name)) {
    // { equals: 2 } of a codec field; reserved: 'refuse' of a word
    // { passed: condition, found } of an attempt's work
    if (node.name.text === 'passed') {
      const all = operands(node.initializer, ts.SyntaxKind.AmpersandAmpersandToken);
      return all.map((at) => ({ kind: 'report', at, replacement: 'true' }));
    }
    if (node.name.text === 'equals') return [{ kind: 'codec', at: node.name, replacement: 'default' }];
    const isRefuse = ts.isStringLiteral(node.initializer) && node.initializer.text === 'refuse';
    if (node.name.text === 'reserved' && isRefuse)
      return [{ kind: 'codec', at: node.initializer, replacement: "'report'" }];
  }
  return [];
}

function sitesOfCall(call: ts.CallExpression): Found[] {
  const name = calledName(call);
  const argument = (index: number) => call.arguments[index];
  // appraiser.report('id', condition, …)
  if (name === 'report' && call.arguments.length >= 3) {
    const all = operands(argument(1)!, ts.SyntaxKind.AmpersandAmpersandToken);
    return all.map((at) => ({ kind: 'report', at, replacement: 'true' }));
  }
  // appraiser.attempt('id', expected, work), and helpers called check that end in the same work
  const work = call.arguments.at(-1);
  if ((name === 'attempt' || name === 'check') && work !== undefined && ts.isArrowFunction(work)) {
    return [
      { kind: 'attempt', at: work, replacement: "async () => ({ passed: true, found: 'switched off' })" },
    ];
  }
  // refuseUnless(condition, status)
  if (name === 'refuseUnless') {
    const all = operands(argument(0)!, ts.SyntaxKind.AmpersandAmpersandToken);
    return all.map((at) => ({ kind: 'guard', at, replacement: 'true' }));
  }
  // requireSomething(…); as a statement: whatever it looks at is not looked at
  if (name !== undefined && /^(?:require|assert|ensure)[A-Z]/.test(name)) {
    const whole = ts.isAwaitExpression(call.parent) ? call.parent : call;
    if (ts.isExpressionStatement(whole.parent)) return [{ kind: 'call', at: whole, replacement: 'void 0' }];
  }
  // refuse('expected', 'found'), where no condition in front of it was a site already
  if (name === 'refuse' && !isInGuard(call))
    return [{ kind: 'refuse', at: call, replacement: '(undefined as never)' }];
  // reserved(offset, size): must be zero
  if (name === 'reserved' && call.arguments.length === 2) {
    return [{ kind: 'codec', at: argument(1)!, replacement: `${argument(1)!.getText()}, 'report'` }];
  }
  // z.strictObject(…), and a helper of that name: no unknown members
  if (name === 'strictObject') {
    const replacement = ts.isIdentifier(call.expression) ? 'z.object' : 'object';
    return [{ kind: 'schema', at: nameNode(call), replacement }];
  }
  if ((name === 'refine' || name === 'regex') && call.arguments.length >= 1) {
    const replacement = name === 'refine' ? '() => true' : '/(?:)/';
    return [{ kind: 'schema', at: argument(0)!, replacement }];
  }
  return [];
}

/** A statement that ends in a refusal: throw, refuse(), return false, or return of a status other than success. */
function refuses(node: ts.Node): boolean {
  if (ts.isBlock(node)) {
    const last = node.statements.at(-1);
    return last !== undefined && refuses(last);
  }
  if (ts.isThrowStatement(node)) return node.expression !== undefined && !ts.isIdentifier(node.expression);
  if (ts.isExpressionStatement(node)) return isRefuseCall(node.expression);
  if (ts.isReturnStatement(node) && node.expression !== undefined) {
    return (
      node.expression.kind === ts.SyntaxKind.FalseKeyword ||
      isRefuseCall(node.expression) ||
      isStatus(node.expression)
    );
  }
  return false;
}

function isRefuseCall(node: ts.Expression): boolean {
  return ts.isCallExpression(node) && calledName(node) === 'refuse';
}

/** `statusCodes.POLICY_FAILURE`, or `'POLICY_FAILURE'` where commands answer with names. */
function isStatus(node: ts.Expression): boolean {
  if (ts.isStringLiteral(node))
    return /^[A-Z]+(?:_[A-Z]+)+$/.test(node.text) || node.text === 'INACTIVE' || node.text === 'ACTIVE';
  return (
    ts.isPropertyAccessExpression(node) &&
    /^status(?:Codes)?$/i.test(node.expression.getText()) &&
    node.name.text !== 'SUCCESS'
  );
}

/** Whether the statement around a node is the body of an `if` whose condition is a site. */
function isInGuard(node: ts.Node): boolean {
  let at: ts.Node = node;
  while (!ts.isStatement(at)) at = at.parent;
  if (ts.isBlock(at.parent) && at.parent.statements.at(-1) === at) at = at.parent;
  return ts.isIfStatement(at.parent) && at.parent.thenStatement === at && refuses(at);
}

function operands(node: ts.Expression, operator: ts.SyntaxKind): ts.Expression[] {
  if (ts.isParenthesizedExpression(node)) return operands(node.expression, operator);
  if (ts.isBinaryExpression(node) && node.operatorToken.kind === operator) {
    return [...operands(node.left, operator), ...operands(node.right, operator)];
  }
  const isConstant = node.kind === ts.SyntaxKind.TrueKeyword || node.kind === ts.SyntaxKind.FalseKeyword;
  return isConstant ? [] : [node];
}

function nameNode(call: ts.CallExpression): ts.Node {
  return ts.isPropertyAccessExpression(call.expression) ? call.expression.name : call.expression;
}

function calledName(call: ts.CallExpression): string | undefined {
  const name = nameNode(call);
  return ts.isIdentifier(name) || ts.isPrivateIdentifier(name) ? name.text.replace('#', '') : undefined;
}
