import ts from 'typescript';

/** One place where a source file names another module. */
export interface SourceImport {
  /** As written; undefined where the name is computed, so that no check can know it. */
  readonly specifier: string | undefined;
  /** From 1. */
  readonly line: number;
  /** `import type`, `export type` and imports inside types: gone when the program runs. */
  readonly typeOnly: boolean;
}

/**
 * Every import of a TypeScript source: static, type-only, `export … from`, dynamic `import()`, `import('…')` in types,
 * `import x = require()`, `require()`, `require.resolve()`, `import.meta.resolve()`, and `/// <reference path>`.
 */
export function importsOf(fileName: string, text: string): SourceImport[] {
  const source = ts.createSourceFile(fileName, text, ts.ScriptTarget.Latest, false);
  const found: SourceImport[] = [];
  const lineAt = (position: number) => source.getLineAndCharacterOfPosition(position).line + 1;
  const add = (name: ts.Node | undefined, at: ts.Node, typeOnly = false) => {
    const specifier = name !== undefined && ts.isStringLiteralLike(name) ? name.text : undefined;
    found.push({ specifier, line: lineAt(at.getStart(source)), typeOnly });
  };

  function visit(node: ts.Node): void {
    if (ts.isImportDeclaration(node)) {
      add(node.moduleSpecifier, node, node.importClause?.phaseModifier === ts.SyntaxKind.TypeKeyword);
    } else if (ts.isExportDeclaration(node) && node.moduleSpecifier !== undefined) {
      add(node.moduleSpecifier, node, node.isTypeOnly);
    } else if (ts.isImportTypeNode(node)) {
      add(ts.isLiteralTypeNode(node.argument) ? node.argument.literal : undefined, node, true);
    } else if (ts.isExternalModuleReference(node)) {
      add(node.expression, node);
    } else if (ts.isCallExpression(node) && namesAModule(node.expression)) {
      add(node.arguments[0], node);
    }
    ts.forEachChild(node, visit);
  }
  visit(source);
  for (const { fileName: path, pos } of source.referencedFiles) {
    found.push({ specifier: path.startsWith('.') ? path : `./${path}`, line: lineAt(pos), typeOnly: true });
  }
  return found;
}

function namesAModule(callee: ts.Expression): boolean {
  if (callee.kind === ts.SyntaxKind.ImportKeyword) return true;
  if (ts.isIdentifier(callee)) return callee.text === 'require';
  if (!ts.isPropertyAccessExpression(callee) || callee.name.text !== 'resolve') return false;
  const { expression: owner } = callee;
  return ts.isMetaProperty(owner) || (ts.isIdentifier(owner) && owner.text === 'require');
}
