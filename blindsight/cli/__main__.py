from blindsight.cli import main

main()
