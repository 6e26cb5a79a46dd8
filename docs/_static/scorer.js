// The words of a question are often on many pages: guides come first, pages about the project last.
const PAGES = { "reference/models": 4, architecture: -4, changelog: -5, contributing: -3, index: -2, performance: -2, testing: 2 };

var Scorer = {
  score: ([page, , , , score]) => score + (PAGES[page] ?? (page.startsWith("reference/") ? 0 : 1)),
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
