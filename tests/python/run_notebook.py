"""Runs a notebook from beginning to end, as a user would, in a folder where it may leave its pictures.

    python run_notebook.py NOTEBOOK FOLDER
"""

import sys

import nbclient
import nbformat

if __name__ == "__main__":
    match sys.argv[1:]:
        case [notebook, folder]:
            read = nbformat.read(notebook, as_version=4)
            nbclient.NotebookClient(read, timeout=300, kernel_name="python3", resources={"metadata": {"path": folder}}).execute()
        case _:
            print(__doc__, file=sys.stderr)
            sys.exit(2)
