def results_table(results: dict, metric: str) -> str:
    """Markdown table of ``results.json``: a row a lane, accuracy in per cent of the last epoch, Cat* marked."""
    teachers = results['teachers']
    lines = [f"| lane | val | test | θ ({', '.join(teachers)}) |", '|---|---|---|---|']
    for row in sorted(results['lanes'], key=lambda row: (row['role'] != 'baseline')):
        star = row['name'] == results['selected']
        name = f"**{row['name']}** (Cat*)" if star else row['name']
        theta = '–' if row['theta'] is None else ' '.join(f'{row["theta"][t]:.3f}' for t in teachers)
        lines.append(f"| {name} | {row['val'][metric]:.2f} | {row['test'][metric]:.2f} | {theta} |")
    return '\n'.join(lines) + '\n'
