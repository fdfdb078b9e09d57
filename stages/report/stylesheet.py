"""How the page looks: on a phone, a desk, paper; light and dark."""

STYLE = """
:root { color-scheme: light; --ink: #1b1f24; --paper: #fff; --soft: #5a6472; --line: #d5d9de;
  --oblivious: #f1f5f9; --adaptive: #fdf1e7; --gain: #00568a; --loss: #a13d00 }
@media screen and (prefers-color-scheme: dark) { :root { color-scheme: dark; --ink: #e6e9ed; --paper: #15181c;
  --soft: #9aa5b1; --line: #3a424b; --oblivious: #1c242d; --adaptive: #2e231a; --gain: #6cbcf0; --loss: #f2a36b }
  figure img { filter: brightness(.9) } }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 62rem; font: 16px/1.5 system-ui, sans-serif;
  color: var(--ink); background: var(--paper); overflow-wrap: anywhere }
h1 { font-size: 1.6rem; margin: 0 0 .5rem } h2 { font-size: 1.25rem; margin: 2.5rem 0 .5rem }
p, li { max-width: 46rem } li { margin: .3rem 0 }
nav ul { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .3rem 1.2rem }
a { color: var(--gain) } :focus-visible { outline: 3px solid var(--gain); outline-offset: 2px }
.verdict { border-left: 4px solid var(--gain); padding: .2rem 0 .2rem 1rem; font-size: 1.05rem }
.verdict p { margin: .6rem 0 } .verdict b { display: block }
.wide { overflow-x: auto; margin: 1rem 0 }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums }
caption { text-align: left; font-weight: 600; padding: .3rem 0 }
th, td { padding: .35rem .4rem; text-align: left; vertical-align: top; border-top: 1px solid var(--line);
  overflow-wrap: break-word }
th { font-weight: 500 } thead th { font-weight: 600 }
.results { width: 100%; font-size: .82rem } .results td, .results thead th { text-align: right; white-space: nowrap }
.results thead th { white-space: normal; overflow-wrap: normal; vertical-align: bottom }
.results th[scope="row"] { white-space: nowrap } .results thead th:first-child { text-align: left }
.results th small, .results td small { display: block; font-weight: 400; color: var(--soft) }
.results caption small { display: block; font-weight: 400; color: var(--soft) }
@media (max-width: 40rem) { .results tr > th[scope="row"]:first-child {
  position: sticky; left: 0; white-space: normal; min-width: 8rem; max-width: 8rem; background: var(--paper) }
  .results .oblivious tr > th[scope="row"]:first-child { background: var(--oblivious) }
  .results .adaptive tr > th[scope="row"]:first-child { background: var(--adaptive) } }
.checks thead th, .checks td:first-child { white-space: nowrap } .checks td { min-width: 5rem }
.checks td:last-child { min-width: 15rem }
.costs td, .costs th { white-space: nowrap } .costs td:nth-child(n+3), .costs th:nth-child(n+3) { text-align: right }
.fail { color: var(--loss); font-weight: 700 } .warn { color: var(--loss) } .pass { color: var(--gain) }
.results .group { font-size: .95rem; padding-top: .8rem }
.oblivious { background: var(--oblivious) } .adaptive { background: var(--adaptive) }
.gain { color: var(--gain) } .loss { color: var(--loss) } .noise { color: var(--soft) }
figure { margin: 1.5rem 0 } figure img { display: block; width: 100%; min-width: 38rem; max-width: 62rem; height: auto;
  background: #fff; border-radius: 6px; border: 1px solid var(--line) }
figcaption { color: var(--soft); font-size: .9rem; max-width: 46rem }
@media print { body { max-width: none; padding: 0; font-size: 10pt } nav { display: none }
  .wide { overflow: visible } table { font-size: 7.5pt } th, td { padding: .15rem .35rem; overflow-wrap: anywhere }
  figure, tr, .verdict { break-inside: avoid } h1, h2, caption { break-after: avoid }
  figure img { min-width: 0; max-height: 22cm; object-fit: contain }
  .oblivious, .adaptive { print-color-adjust: exact; -webkit-print-color-adjust: exact } }
@page { margin: 1.5cm }
"""
